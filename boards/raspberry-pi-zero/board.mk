# Raspberry Pi Zero and 1 (ARMv6; Raspberry Pi OS calls it armhf)
TARGET = arm-unknown-linux-musleabihf
QEMU = arm
QEMU_CPU = arm1176
TIER = 1
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 1835008
PACKAGES = deb tarball
PACKAGE_ARCH = armhf
