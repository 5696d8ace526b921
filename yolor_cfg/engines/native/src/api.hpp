// What marks a function that Python calls.
#pragma once
#define YC_API __attribute__((visibility("default")))
