/* Empty: BCC includes this header by name, but has its own copy of the declarations. */
#pragma once
