# BeagleBone Black and Green
TARGET = armv7-unknown-linux-musleabihf
QEMU = arm
QEMU_CPU = cortex-a8
TIER = 2
FLAGS = -Ctarget-feature=+thumb-mode
OPT_LEVEL = z
MAX_BYTES = 1572864
PACKAGES = deb tarball
PACKAGE_ARCH = armhf
