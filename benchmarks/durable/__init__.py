"""The product beside the peers that promise to store before they acknowledge."""
