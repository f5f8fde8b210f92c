/* version.h - what this is called: the one place that says so, for every program's --version. */
#ifndef HF_BASE_VERSION_H
#define HF_BASE_VERSION_H
#define HF_VERSION "0.4"
#endif
