from training.data.load import load_data
from training.data.pictures import PictureData

__all__ = ["PictureData", "load_data"]
