"""How does a picture become a label map? By networks on one device; nothing here touches a disk or a cluster."""
