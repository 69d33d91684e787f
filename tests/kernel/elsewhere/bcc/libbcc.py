"""Makes flowd_bpf.load.bcc accept this folder as a BCC package."""
