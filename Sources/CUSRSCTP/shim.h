// SPDX-License-Identifier: Apache-2.0
// Debian's libusrsctp, and wrappers for what Swift cannot import.
#pragma once
#include <usrsctp.h>
