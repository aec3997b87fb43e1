-- MX0105 at 2:7, 3 wide: require 'lfs': recipes cannot load modules, only "mx"
local lfs = require "lfs"
