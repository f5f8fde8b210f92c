/* arrayctl.h - reservation commands to the test array: one line out, one line back.
 *
 * The array (tools/array) shows each node its units as files, and beside them a UNIX stream socket,
 * the node's own command path to all units: the socket is the I_T nexus.  The words are those of
 * SPC-4 5.12 for type Write Exclusive - Registrants Only.
 *
 *	REGISTER unit key	register, whatever key this path had (REGISTER AND IGNORE)
 *	UNREGISTER unit key	`key` is the one registered; a holder's reservation goes with it
 *	RESERVE unit key
 *	RELEASE unit key
 *	PREEMPT unit key victim	PREEMPT AND ABORT: no write of the victim lands after the answer
 *	CLEAR unit key
 *	READKEYS unit
 *	READRES unit
 *	INFO unit		the device's size; is it there
 *
 *	OK			done
 *	OK gen=N keys=K,K...	READKEYS: one for each registered path, `keys=` when there is none
 *	OK gen=N holder=K	READRES; `holder=none`
 *	OK size=BYTES		INFO
 *	CONFLICT		RESERVATION CONFLICT
 *	ATTENTION		UNIT ATTENTION (2Ah: another path preempted or cleared this one);
 *				nothing was done, the next command is carried out
 *	ERROR text		no such unit, bad line, the path is cut
 *
 * Keys are 16 hexadecimal digits with 0x in front; 0 is no key.  `gen` is the PRGENERATION.  All
 * survive the loss of a node's power (APTPL).  One command at a time on a connection; the answers come
 * in order.  A path that is cut answers ERROR to everything. */
#ifndef HF_IO_ARRAYCTL_H
#define HF_IO_ARRAYCTL_H

#define ARRAYCTL_LINE_MAX  1024 /* with the newline */
#define ARRAYCTL_OK	   "OK"
#define ARRAYCTL_CONFLICT  "CONFLICT"
#define ARRAYCTL_ATTENTION "ATTENTION"
#define ARRAYCTL_ERROR	   "ERROR"

#endif
