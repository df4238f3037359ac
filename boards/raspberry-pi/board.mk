# Raspberry Pi 3, 4 and 5 with a 64-bit system, and most other single-board computers
TARGET = aarch64-unknown-linux-musl
QEMU = aarch64
QEMU_CPU = cortex-a53
TIER = 1
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 1887436
PACKAGES = deb tarball
PACKAGE_ARCH = arm64
