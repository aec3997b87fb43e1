-- MX0109 at 2:8, 1 wide: 'i' is not defined
return i
