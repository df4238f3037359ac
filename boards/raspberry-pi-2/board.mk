# Raspberry Pi 2, and newer ones with a 32-bit system
TARGET = armv7-unknown-linux-musleabihf
QEMU = arm
QEMU_CPU = cortex-a7
TIER = 1
FLAGS = -Ctarget-feature=+thumb-mode
OPT_LEVEL = z
MAX_BYTES = 1572864
PACKAGES = deb tarball
PACKAGE_ARCH = armhf
