/* BCC rounds ring sizes with it; the loader gives sizes in pages of this machine. */
#pragma once

#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif
