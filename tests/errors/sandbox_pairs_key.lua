-- MX0104 at 2:0, 0 wide: pairs: a key that is a table has no order
for k in pairs { [{}] = 1 } do end
