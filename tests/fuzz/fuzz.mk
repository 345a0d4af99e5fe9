# SPDX-License-Identifier: MPL-2.0
#
# Builds the fuzzers in the current folder, for tests/fuzz/run, which says where the repository is: TOP. The core and
# the shim are compiled once for all; they alone are instrumented for coverage, for that is what the fuzzers look for.
CC = clang
CXX = clang++
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS = -O1 -g -pthread -Wall -Wextra -D_GNU_SOURCE -I$(TOP)/hook -I$(TOP)/shim -I$(TOP)/tests/unit -MMD $(SANITIZE)
KEA = -isystem /usr/include/kea -isystem $(TOP)/shim/compat
KEA_LIBS = -lkea-dhcpsrv -lkea-dhcp++ -lkea-hooks -lkea-cc -lkea-stats -lkea-asiolink -lkea-log -lkea-cfgclient \
	-lkea-process -lkea-util -lkea-exceptions

CORE = $(patsubst $(TOP)/hook/%.c,hook-%.o,$(wildcard $(TOP)/hook/*.c))
SHIM = $(patsubst $(TOP)/shim/%.cc,shim-%.o,$(filter-out %/hook.cc,$(wildcard $(TOP)/shim/*.cc)))
FUZZERS = message core store parameters commands

all: $(FUZZERS) seeds

hook-%.o: $(TOP)/hook/%.c
	$(CC) -std=c11 $(FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<
shim-%.o: $(TOP)/shim/%.cc
	$(CXX) -std=c++17 $(FLAGS) $(KEA) -fsanitize=fuzzer-no-link -c -o $@ $<
fuzz-%.o: $(TOP)/tests/fuzz/%.cc
	$(CXX) -std=c++17 $(FLAGS) $(KEA) -c -o $@ $<

message core store: %: fuzz-%.o $(CORE)
	$(CXX) $(SANITIZE) -fsanitize=fuzzer -pthread -o $@ $^ -lsqlite3
parameters commands: %: fuzz-%.o $(SHIM) $(CORE)
	$(CXX) $(SANITIZE) -fsanitize=fuzzer -pthread -o $@ $^ $(KEA_LIBS) -lsqlite3 -lgtest
seeds: fuzz-seeds.o $(CORE)
	$(CXX) $(SANITIZE) -pthread -o $@ $^ -lsqlite3 -lgtest

-include $(wildcard *.d)
