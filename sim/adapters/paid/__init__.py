"""Whatever costs money: the ledger of caps, the journal of replies, and the draws bought under them."""
