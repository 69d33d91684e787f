"""The images of the cluster's pods: made by buildah without a registry, kept in containerd's store."""
