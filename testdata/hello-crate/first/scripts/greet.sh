#!/bin/sh
# An executable file, so that the package has one.
echo hello
