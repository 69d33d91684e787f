/* BCC includes this first, in place of the kernel configuration, which the programs do not use. */
#pragma once

#define CONFIG_BPF_SYSCALL 1
