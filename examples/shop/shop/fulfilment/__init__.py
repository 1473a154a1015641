"""The fulfilment service: carries paid orders to the warehouse."""
