// All kernels of one instruction set. A file that includes this has opened its namespace, set its target,
// defined YC_ROWS, and included its vectors.
#include "activations.inl"
#include "micro.inl"
#ifdef YC_HAS_AMX
#include "micro_amx.inl"
#endif
#include "finish.inl"
#include "maps.inl"
#include "direct.inl"
#include "winograd.inl"
