-- MX0105 at 2:7, 7 wide: debug.sethook: recipes cannot look into the interpreter
debug.sethook()
