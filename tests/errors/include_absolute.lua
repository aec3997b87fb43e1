-- MX0107 at 2:19, 13 wide: include '/etc/passwd' is outside of the recipe's folder
local a = include "/etc/passwd"
