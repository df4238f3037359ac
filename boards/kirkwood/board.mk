# NAS boxes with Marvell Kirkwood (ARMv5, soft float)
TARGET = armv5te-unknown-linux-musleabi
QEMU = arm
QEMU_CPU = arm926
TIER = 2
FLAGS =
OPT_LEVEL = z
MAX_BYTES = 1992294
PACKAGES = deb tarball
PACKAGE_ARCH = armel
