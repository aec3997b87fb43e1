/* sandbox_library.h -- what a recipe can call. Between sandbox.c and sandbox_library.c only. */
#ifndef MXG_SANDBOX_LIBRARY_H
#define MXG_SANDBOX_LIBRARY_H

#include <lua.h>

void mxg_sandbox_open_library(lua_State *L);               /* once a state */
void mxg_sandbox_environment(lua_State *L);                /* pushes a fresh _ENV for one file */
int mxg_sandbox_include(lua_State *L);                     /* include "file.lua" */
void mxg_sandbox_own_file(lua_State *L, const char *name); /* argument -> value */

#endif
