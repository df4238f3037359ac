# OpenWrt routers with MediaTek MT7621 and other ramips: no 64-bit atomics, soft float
TARGET = mipsel-unknown-linux-musl
QEMU = mipsel
QEMU_CPU = 24Kc
TIER = 1
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 2411724
PACKAGES = ipk tarball
PACKAGE_ARCH = mipsel_24kc
