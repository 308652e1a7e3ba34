from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from t2i.protocol.v1 import (
    batch_service_pb2,
    conditions_pb2,
    image_service_pb2,
    model_service_pb2,
)

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_generating_again_gives_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "protos" / "generate.py"), "--out", str(tmp_path / "new")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    committed, fresh = files(ROOT / "t2i" / "protocol"), files(tmp_path / "new")
    assert sorted(committed) == sorted(fresh)
    assert [name for name in fresh if fresh[name] != committed[name]] == []
    assert "v1/image_service_pb2_grpc.pyi" in fresh


def test_the_comparison_with_the_released_protocol_finds_a_removed_field(tmp_path: Path) -> None:
    protos = tmp_path / "protos"
    subprocess.run(["cp", "-r", str(ROOT / "protos"), str(protos)], check=True)
    breaking = [str(BUF), "breaking", "--against", "released.binpb"]
    unchanged = subprocess.run(breaking, cwd=protos, capture_output=True, text=True)
    assert unchanged.returncode == 0, unchanged.stdout
    service = protos / "t2i" / "v1" / "image_service.proto"
    line = "  repeated uint64 seeds = 5;\n"
    assert line in service.read_text()
    service.write_text(service.read_text().replace(line, ""))
    broken = subprocess.run(breaking, cwd=protos, capture_output=True, text=True)
    assert broken.returncode != 0
    assert "seeds" in broken.stdout


def test_every_kind_of_condition_can_be_asked_with() -> None:
    oneof = conditions_pb2.Condition.DESCRIPTOR.oneofs_by_name["kind"]
    kinds = ["text", "label", "attributes", "picture", "layout", "scene_graph", "code"]
    assert [field.name for field in oneof.fields] == kinds
    listed = conditions_pb2.ConditionKind.DESCRIPTOR.values_by_name
    assert [f"CONDITION_KIND_{kind.upper()}" for kind in kinds] == list(listed)[1:]


def test_both_ways_of_asking_share_their_fields() -> None:
    stream = image_service_pb2.GenerateRequest.DESCRIPTOR.fields_by_name
    unary = image_service_pb2.GenerateImagesRequest.DESCRIPTOR.fields_by_name
    assert set(stream) - set(unary) == {"previews", "group_events"}
    for name, field in unary.items():
        assert (field.number, field.type) == (stream[name].number, stream[name].type)


def test_the_three_services_have_the_calls_of_the_design() -> None:
    calls = {
        image_service_pb2: ("ImageService", ["Generate", "GenerateImages"]),
        model_service_pb2: ("ModelService", ["ListModels", "GetModel"]),
        batch_service_pb2: (
            "BatchService",
            [f"{verb}BatchJob" for verb in ("Create", "Get")]
            + ["ListBatchJobs", "CancelBatchJob", "WatchBatchJob"],
        ),
    }
    for module, (service, methods) in calls.items():
        descriptor = module.DESCRIPTOR.services_by_name[service]
        assert [method.name for method in descriptor.methods] == methods
