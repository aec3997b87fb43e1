-- MX0105 at 2:11, 4 wide: coroutine.wrap: recipes cannot use coroutines
coroutine.wrap(function() end)()
