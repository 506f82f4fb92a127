"""How does a picture become a label map? By networks on one device, without a store or a cluster."""
