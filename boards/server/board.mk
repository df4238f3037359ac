# Servers and PCs, 64-bit x86
TARGET = x86_64-unknown-linux-musl
QEMU =
QEMU_CPU =
TIER = 1
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 2306867
PACKAGES = deb tarball
PACKAGE_ARCH = amd64
