/* manual_library.h -- libmxgen(3), from the comments of the public headers. */
#ifndef MXG_MANUAL_LIBRARY_H
#define MXG_MANUAL_LIBRARY_H

#include "error.h"
#include "page.h"

mxg_status mxg_manual_library(mxg_page *page, const char *const *headers, mxg_error *err);

#endif
