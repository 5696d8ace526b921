// For files whose results must equal those of other programs bit by bit: no multiplication and addition is
// contracted into one operation, whatever flags the library is built with. Include it after all headers.
#pragma once
#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif
