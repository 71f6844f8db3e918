"""What runs models: native code, in processes whose crash costs nothing."""
