// Command gen prints lanes_amd64.s, the MD5 block functions of package md5lanes
// for amd64. Run "go generate" in that package after a change here; a test
// compares the committed file with what gen prints.
//
// All kernels share the schedule of RFC 1321, section 3.4, in schedule.go; they
// differ in how a step is done on their registers. What bounds each of them is
// the chain of dependent operations from one step's b to the next, so a step
// adds a, the constant and the message word first, which are ready early, and
// lets b in last.
package main
