# Old PCs, 32-bit x86
TARGET = i686-unknown-linux-musl
QEMU =
QEMU_CPU =
TIER = 2
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 2097152
PACKAGES = deb tarball
PACKAGE_ARCH = i386
