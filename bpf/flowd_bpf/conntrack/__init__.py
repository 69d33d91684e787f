"""Read translated (NAT) connections from the kernel's conntrack over ctnetlink.

`netlink` opens the sockets and receives events and dumps, `parse` turns the messages into ENTRY
rows. Imports numpy and the standard library only. Rows go to flowd.capture.kernel.conntrack.
"""
