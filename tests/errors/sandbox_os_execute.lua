-- MX0105 at 2:4, 7 wide: os.execute: recipes cannot run programs or ask the machine for anything
os.execute("true")
