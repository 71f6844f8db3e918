def page(results, order):
    return ""
