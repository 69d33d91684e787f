/* BCC includes this first. It stands for the kernel configuration, which flow programs do not use. */
#pragma once

#define CONFIG_BPF_SYSCALL 1
