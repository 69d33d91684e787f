/* BCC includes this by name and brings what it needs from it itself. */
#pragma once
