"""Opens key stores and keys, and turns them into plain PEM.

opening            opens a store of any type in this process
process, __main__  opens untrusted stores in a separate process
certificates       reads certificates and keys from PEM, PKCS12 and JKS
cost               computes how much work a store takes, before it is opened
pkcs12, jks, der   parse the formats
files              reads stores from the worker's disk
"""
