# VisionFive 2 and other 64-bit RISC-V boards
TARGET = riscv64gc-unknown-linux-musl
QEMU = riscv64
QEMU_CPU = rv64
TIER = 2
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 1887436
PACKAGES = deb tarball
PACKAGE_ARCH = riscv64
