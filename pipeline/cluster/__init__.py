"""What the topics tell of the whole cluster: any worker answers for every subscription, whoever owns its partition.

state    its values
"""
