/* PAGE_SIZE, by which BCC rounds ring sizes; the loader defines this machine's. */
#pragma once

#ifndef PAGE_SIZE
#define PAGE_SIZE 4096
#endif
