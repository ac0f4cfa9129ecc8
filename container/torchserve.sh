#!/bin/sh
# Process 1 of the image of TorchServe: starts it by its own command, and ends it by that on SIGTERM.
#
#   torchserve.sh ARGUMENT...    more arguments for `torchserve --start`, such as --models all
ended=
trap 'ended=yes; torchserve --stop --foreground' TERM INT
torchserve --start --foreground --ncs --ts-config /opt/torchserve.properties --model-store /models "$@" &
wait $!
wait
[ -n "$ended" ] # an end that nobody asked for is a failure
