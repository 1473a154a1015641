"""Regenerate the committed protobuf and gRPC modules: those of the reference shop, and of the etcd client.

Why committed: nobody needs a compiler to run them, and a changed contract shows in review.
Why an own `.pyi` for the gRPC half: protoc writes none, and an untyped stub would make every
service that uses it untyped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
ROOT = REPOSITORY / "examples" / "shop"
CONTRACTS = ROOT / "shop" / "contracts"
ETCD = REPOSITORY / "src" / "backstay" / "integrations" / "etcd"


def compile_protos(root: Path, names: list[str], *more: str) -> None:
    """Run protoc over `names` (paths relative to `root`), with messages and their types as output.

    Args:
        root: what imports of the generated modules are relative to.
        names: of the files.
        more: further outputs.

    Raises:
        SystemExit: protoc refused a file; its own message is on stderr.
    """
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={root}",
            f"--proto_path={Path(protoc.__file__).parent / '_proto'}",
            f"--python_out={root}",
            f"--pyi_out={root}",
            *more,
            *names,
        ]
    )
    if code:
        raise SystemExit(f"protoc failed with exit code {code}: correct the .proto named above")


def stub_text(file: descriptor_pb2.FileDescriptorProto) -> str:
    """The `.pyi` of one gRPC module: unary methods only, grpc.aio flavoured.

    Raises:
        SystemExit: the file holds a streaming method, which this generator does not know.
    """
    module = file.name.removesuffix(".proto").replace("/", ".") + "_pb2"
    package, _, short = module.rpartition(".")
    lines = [
        '"""Types of the generated gRPC module. DO NOT EDIT: scripts/regenerate-protos."""',
        "",
        "import grpc",
        "import grpc.aio",
        "",
        f"from {package} import {short}",
    ]
    for service in file.service:
        pairs = []
        for method in service.method:
            if method.client_streaming or method.server_streaming:
                raise SystemExit(
                    f"{file.name}: {method.name} streams; teach {Path(__file__).name} to type it"
                )
            source = f"{short}.{method.input_type.rpartition('.')[2]}"
            target = f"{short}.{method.output_type.rpartition('.')[2]}"
            pairs.append((method.name, source, target))
        lines += [
            "",
            f"class {service.name}Stub:",
            "    def __init__(self, channel: grpc.aio.Channel) -> None: ...",
        ]
        lines += [f"    {name}: grpc.aio.UnaryUnaryMultiCallable[{a}, {b}]" for name, a, b in pairs]
        lines += ["", f"class {service.name}Servicer:"]
        for name, a, b in pairs:
            lines += [
                f"    async def {name}(",
                f"        self, request: {a}, context: grpc.aio.ServicerContext[{a}, {b}]",
                f"    ) -> {b}: ...",
            ]
        lines += [
            "",
            f"def add_{service.name}Servicer_to_server(",
            f"    servicer: {service.name}Servicer, server: grpc.aio.Server",
            ") -> None: ...",
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Regenerate everything; the exit code is for the shell."""
    names = sorted(str(path.relative_to(ROOT)) for path in CONTRACTS.glob("*.proto"))
    descriptors = CONTRACTS / ".descriptors.bin"
    try:
        # Rooted at examples/shop, so that generated imports read `from shop.contracts import x_pb2`.
        services = (f"--grpc_python_out={ROOT}", f"--descriptor_set_out={descriptors}")
        compile_protos(ROOT, names, *services)
        found = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    finally:
        descriptors.unlink(missing_ok=True)
    for file in found.file:
        if file.service:
            (ROOT / (file.name.removesuffix(".proto") + "_pb2_grpc.pyi")).write_text(
                stub_text(file)
            )
    # Messages alone: the client gives the names of methods by hand, as those of etcd's own package.
    compile_protos(ETCD.parents[2], [str((ETCD / "rpc.proto").relative_to(ETCD.parents[2]))])
    types = ETCD / "rpc_pb2.pyi"  # ours is checked strictly, and protoc leaves a hole
    types.write_text(types.read_text().replace(", _Mapping]", ", _Mapping[str, object]]"))
    print(f"regenerated {len(names)} contracts in {CONTRACTS}, and the messages of {ETCD}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
