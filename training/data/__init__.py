from training.data.load import load_data, load_pictures
from training.data.pictures import PictureData
from training.data.samples import SampleData

__all__ = ["PictureData", "SampleData", "load_data", "load_pictures"]
