# OpenWrt routers with Atheros AR71xx to QCA95xx: big-endian
TARGET = mips-unknown-linux-musl
QEMU = mips
QEMU_CPU = 24Kc
TIER = 2
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 2411724
PACKAGES = ipk tarball
PACKAGE_ARCH = mips_24kc
