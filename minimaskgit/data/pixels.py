"""Any picture as 8-bit RGB: deep integers and floats are scaled by one rule, transparency falls onto white."""
