-- MX0107 at 2:19, 22 wide: include '../unit/test_model.c' is outside of the recipe's folder
local a = include "../unit/test_model.c"
