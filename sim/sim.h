/* sim.h - the simulator: whole clusters on virtual time, driving the production brain.
 *
 *	holdfast-sim --seed N [--trace]
 *	holdfast-sim --seeds A-B [--require sim/marks.txt]
 *
 * One thread, one priority queue of events in virtual time, one seeded generator.  Everything that
 * the shell, the kernel, the disks and the networks do for node_step() is modelled here; nothing of
 * src/io is linked in.  The same seed gives the same trace, byte by byte.
 *
 * How it is cut:
 *	queue.c		the event queue: time, then order of insertion
 *	world.c		makes a cluster from a seed: nodes, units, vservers, paths, devices
 *	host.c		a node: instance, clock, pause and crash; carries out the actions of a step
 *	net.c		network paths: latency, loss, duplication, reorder, cuts, replays
 *	device.c	coordination devices and persistent memory
 *	unit.c		storage units: reservation R, record S, RESERVE and RELEASE as the shell does
 *	worker.c	workers with lease pages, addresses with kernel lifetimes, clients' view
 *	fault.c		the plan of faults and operator commands, and healing
 *	check.c		the checkers: each names what it found, with the seed
 *	main.c		command line, ranges of seeds, coverage marks */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#endif
