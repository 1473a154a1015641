"""Regenerate the committed protobuf and gRPC modules of the reference shop.

Why committed: nobody needs a compiler to run the shop, and a changed contract shows in review.
Why an own `.pyi` for the gRPC half: protoc writes none, and an untyped stub would make every
service that uses it untyped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent / "examples" / "shop"
CONTRACTS = ROOT / "shop" / "contracts"


def compile_protos(names: list[str], descriptors: Path) -> None:
    """Run protoc over `names` (paths relative to ROOT), leaving a descriptor set behind.

    Raises:
        SystemExit: protoc refused a file; its own message is on stderr.
    """
    # Rooted at examples/shop, so that generated imports read `from shop.contracts import x_pb2`.
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={Path(protoc.__file__).parent / '_proto'}",
            f"--python_out={ROOT}",
            f"--pyi_out={ROOT}",
            f"--grpc_python_out={ROOT}",
            f"--descriptor_set_out={descriptors}",
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
        compile_protos(names, descriptors)
        found = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    finally:
        descriptors.unlink(missing_ok=True)
    for file in found.file:
        if file.service:
            (ROOT / (file.name.removesuffix(".proto") + "_pb2_grpc.pyi")).write_text(
                stub_text(file)
            )
    print(f"regenerated {len(names)} contracts in {CONTRACTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
