"""Makes this folder a BCC package to flowd_bpf.load.bcc."""
